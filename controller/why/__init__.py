"""From a denial to the smallest fix: reads what people paste, says what decided, and edits the workload."""
