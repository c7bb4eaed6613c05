-- The workers that know a workflow and serve its queue, and the one that holds the lease.
-- Index: none; the table is small. Returns: the rows by id.
select w.id, w.queues, w.workflows, w.host, w.pid, w.version, w.started_ms, w.heartbeat_ms, w.lease_until_ms
  from holdfast.workers w
 where w.id = %(worker)s::text
    or (w.lease_until_ms > holdfast.now_ms(%(now_ms)s) and %(queue)s::text = any(w.queues)
        and %(workflow)s::text = any(w.workflows))
 order by w.id collate "C"
