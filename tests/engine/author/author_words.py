"""What the pipeline's file imports."""

GATE = "EdgeEvaluator.candidate"
