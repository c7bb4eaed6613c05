-- Whether a wall stands between tenants, or is about to, and whether this role may act for all of them.
-- Index: the catalog's own. Returns: one row.
select exists (select from pg_policy p
                where p.polrelid = to_regclass('holdfast.runs') and p.polname = 'one_tenant') as stands,
       exists (select from pg_roles me where me.rolname = current_user and (me.rolsuper or me.rolbypassrls))
       or exists (select from pg_roles r where r.rolname = 'holdfast_worker' and pg_has_role(r.oid, 'usage')) as serves_all
