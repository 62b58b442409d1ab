-- Xano's documentation writes the name of the demo channel in both ways. The second one is as open as the first one is now.
INSERT OR IGNORE INTO `channels` (`name`, `settings`)
SELECT 'marvel-chat-room', `settings` FROM `channels` WHERE `name` = 'marvel_chat_room';
