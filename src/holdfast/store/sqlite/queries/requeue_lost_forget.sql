-- Delete the rows of workers whose lease ran out before :before_ms. Guard: they hold no run.
-- Access: the few workers there are, runs_worker.
delete from holdfast_workers as gone
where lease_until_ms < :before_ms and not exists (
    select 1 from holdfast_runs as r where r.shard = 0 and r.worker is not null and r.worker = gone.id)
