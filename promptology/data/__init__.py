"""Items, tasks, metrics, loaders and bundled tasks."""
