drop function purser.enqueue_gathered(jsonb);
