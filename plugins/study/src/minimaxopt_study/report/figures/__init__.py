"""The figures: their data and their drawing."""
