"""From the predictions of runs to a report, and to scores of the examples."""
