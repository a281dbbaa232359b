alter table public.tenants drop constraint id_is_visible;
drop index public.ux_tenants_form;
drop function purser.tenant_form(text);
