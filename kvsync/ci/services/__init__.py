"""The services that stages of a tested repository need: started for one stage, and gone after it."""
