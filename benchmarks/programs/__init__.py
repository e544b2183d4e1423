"""What benchmarks start in processes of their own, with another Python or on another checkout."""
