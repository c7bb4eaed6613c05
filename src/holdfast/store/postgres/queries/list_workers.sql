-- The workers whose lease has not run out.
-- Index: none; the table is small. Returns: the rows by id.
select w.id, w.queues, w.codes, w.lacks, w.host, w.pid, w.version, w.started_ms, w.heartbeat_ms, w.lease_until_ms
  from holdfast.workers w
 where w.lease_until_ms > holdfast.now_ms(%(now_ms)s)
 order by w.id collate "C"
