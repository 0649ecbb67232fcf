"""Understanding: a summary -> tables, figures and a report. Reads the summary only; imports no TensorFlow."""
