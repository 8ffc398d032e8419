"""Networks as values: layer specs (`layers`) and what is built of them (`network`)."""
