"""People review a sample of the accepted and the rejected; their decisions are an input."""
