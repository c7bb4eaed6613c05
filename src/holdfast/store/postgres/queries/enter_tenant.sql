-- Say for whom the rest of this transaction acts, where the wall between tenants stands: one tenant, or all of them.
-- Nothing of it outlives the transaction. Returns: what was said before, null or empty for nobody.
select current_setting('holdfast.tenant', true) as tenant, current_setting('holdfast.all_tenants', true) as all_tenants,
       set_config('holdfast.tenant', %(tenant)s, true), set_config('holdfast.all_tenants', %(all_tenants)s, true)
