-- Which instances may serve the workload: what the api crate calls its reuse.
ALTER TABLE workloads ADD COLUMN reuse TEXT NOT NULL DEFAULT 'none';
