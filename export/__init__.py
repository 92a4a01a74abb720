"""Third stage: a finished run becomes an ONNX artifact (`releases/<release>/artifact/`) that needs nothing from here."""
