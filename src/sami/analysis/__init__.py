"""From verdicts, scores and training logs to statistics, tables, figures and the report."""
