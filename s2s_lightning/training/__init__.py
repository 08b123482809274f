"""Training beyond the network: its optimizer over starts, and schedules that follow a metric."""
