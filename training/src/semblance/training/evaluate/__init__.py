"""How good detection and retrieval are on photos that nobody learnt from, and which of the two to work on."""
