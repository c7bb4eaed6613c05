-- What those of these tenants may start that have limits, and how many runs they have. Access: the primary key of tenants,
-- the primary key of byte_accounts, runs_status.
-- Returns: one JSON array of [tenant, queued_max, payload_bytes_max, stored_bytes_max, stored_bytes, queued].
select json_group_array(json_array(t.tenant, t.queued_max, t.payload_bytes_max, t.stored_bytes_max,
    coalesce((select a.stored_bytes from holdfast_byte_accounts as a where a.tenant = t.tenant), 0),
    iif(t.queued_max is null, 0, (
        select count(*) from holdfast_runs as r where r.tenant = t.tenant and r.status = 'queued'))))
from json_each(:tenants) as b
cross join holdfast_tenants as t on t.tenant = b.value
where coalesce(t.queued_max, t.payload_bytes_max, t.stored_bytes_max) is not null
