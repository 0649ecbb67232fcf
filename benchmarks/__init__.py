"""What ``make bench`` measures: ratios side by side in one run. No test; no part of the product imports it."""
