"""The GPU engine: MuseTalk, from the reference's own files. The only place that imports torch."""
