"""From a trained network to its report: evaluate, summary, figures, page, index, snapshots."""
