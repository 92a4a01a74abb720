"""Second stage: an Example table becomes a fine-tuned classifier with a fitted policy (`runs/<experiment>/...`)."""
