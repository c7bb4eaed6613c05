-- The workers that serve a run's queue and know its code, or say what they lack of it, and the one that holds the lease.
-- Index: none; the table is small. Returns: the rows by id.
select w.id, w.queues, w.codes, w.lacks, w.host, w.pid, w.version, w.started_ms, w.heartbeat_ms, w.lease_until_ms
  from holdfast.workers w
 where w.id = %(worker)s::text
    or (w.lease_until_ms > holdfast.now_ms(%(now_ms)s) and %(queue)s::text = any(w.queues)
        and (%(code)s::text = any(w.codes) or jsonb_exists(w.lacks, %(code)s::text)))
 order by w.id collate "C"
