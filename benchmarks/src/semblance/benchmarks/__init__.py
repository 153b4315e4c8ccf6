"""How near Semblance is to the floor of its host: scenarios, figures, comparisons, reports."""
