/** Nchan from the Debian package libnginx-mod-nchan: one nginx worker that keeps messages in memory only. */
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NCHAN_MODULE } from "../peers.ts";

const directory = mkdtempSync(join(tmpdir(), "bench-"));
const file = join(directory, "nginx.conf");

writeFileSync(
  file,
  `
  load_module ${NCHAN_MODULE};
  user root;
  daemon off;
  worker_processes 1;
  worker_rlimit_nofile 65536;
  pid ${directory}/nginx.pid;
  error_log ${directory}/error.log;
  events { worker_connections 32768; }
  http {
    access_log off;
    client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
    uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
    nchan_max_reserved_memory 512M;
    server {
      listen 127.0.0.1:${process.argv[2]} reuseport backlog=4096;
      keepalive_requests 100000000;
      location /publish { nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 1000; }
      location /subscribe {
        nchan_subscriber websocket; nchan_channel_id $arg_id; nchan_subscriber_first_message newest;
      }
      location / { return 404; }
    }
  }`,
);

const nginx = spawn("nginx", ["-c", file, "-p", directory], { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => nginx.kill(signal));
nginx.on("exit", () => process.exit());
console.log("ready");
