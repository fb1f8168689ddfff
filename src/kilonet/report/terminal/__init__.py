"""Studies, runs, comparisons, range tests and benchmarks on a terminal."""
