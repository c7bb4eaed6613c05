-- How many bytes a tenant may store, and how many it had when they were counted last. Access: the primary keys.
-- Returns: one row, or none if it may store as much as it likes.
select t.stored_bytes_max, a.stored_bytes
from holdfast_tenants as t
cross join holdfast_byte_accounts as a on a.tenant = t.tenant
where t.tenant = :tenant and t.stored_bytes_max is not null
