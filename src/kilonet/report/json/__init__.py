"""Studies, runs, comparisons and range tests as plain data for programs."""
