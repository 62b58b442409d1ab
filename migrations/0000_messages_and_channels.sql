CREATE TABLE `messages` (
	`channel` text NOT NULL,
	`seq` integer NOT NULL,
	`time` integer NOT NULL,
	`action` text NOT NULL,
	`client` text,
	`database` text,
	`payload` text NOT NULL,
	PRIMARY KEY(`channel`, `seq`)
) WITHOUT ROWID;
--> statement-breakpoint
CREATE TABLE `databases` (
	`name` text PRIMARY KEY NOT NULL,
	`dbo_id` integer NOT NULL,
	`config` text NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
CREATE UNIQUE INDEX `databases_dbo_id_unique` ON `databases` (`dbo_id`);
--> statement-breakpoint
CREATE TABLE `channels` (
	`name` text PRIMARY KEY NOT NULL,
	`settings` text NOT NULL
) WITHOUT ROWID;
--> statement-breakpoint
-- The demo channel: open to everyone.
INSERT INTO `channels` (`name`, `settings`) VALUES (
	'marvel_chat_room',
	'{"anonymous_clients":true,"presence":true,"message_history":100,"public_messaging":{"active":true,"auth":false},"private_messaging":{"active":true,"auth":false}}'
);
