"""Results that leave the app: one frozen report, written as HTML, PowerPoint, CSV, Parquet, PDF or PNG."""
