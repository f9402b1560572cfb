-- The image that a workload asked for: its name as the api crate writes it.
ALTER TABLE workloads ADD COLUMN image TEXT;
ALTER TABLE workload_programs ADD COLUMN image TEXT;
-- Of form 'image': the words of the command as a JSON array; empty is the image's own.
ALTER TABLE workload_programs ADD COLUMN command TEXT;
