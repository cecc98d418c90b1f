"""Services as pods of the cluster that a run uses."""
