"""What benchmarks put on a gateway, and what they ask it meanwhile; not benchmarks themselves."""
