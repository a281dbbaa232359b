alter table public.heartbeats drop column type_slots;
