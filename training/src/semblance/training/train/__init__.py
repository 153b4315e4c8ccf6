"""Fine-tuning of the detector and the embedder on a team's own photos, up to the gate of the export."""
