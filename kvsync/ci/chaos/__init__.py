"""Faults on what a stage needs: proved to act, and judged by how requests are served meanwhile."""
