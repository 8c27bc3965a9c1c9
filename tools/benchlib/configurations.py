"""What each proxy is told: the strongest sensible configuration that its own documentation names, with the reason for each
choice. tools/bench --list shows them. @NAMES@ are filled in when a candidate starts."""

HAPROXY = """
global
  # One thread on one core, like the others.
  nbthread 1
  maxconn @CONNECTIONS@
  # configuration.txt, "tune.pipesize": larger pipes help splicing; "maxpipes": too few fall back to copying.
  tune.pipesize 262144
  maxpipes @PIPES@@POLLING@
  # Kept at their defaults: tune.bufsize ("strongly recommended not to change"), tune.maxaccept and tune.runqueue-depth
  # ("showed best results"), tune.fd.edge-triggered ("experimental, may result in frozen connections").
defaults
  mode tcp
  # No log, as none of the others writes one.
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  # "option tcp-smart-accept", "option tcp-smart-connect": each saves an ACK where the client speaks first, as here.
  option tcp-smart-accept
  option tcp-smart-connect
  # "option splice-request" and "-response" always splice, "splice-auto" when HAProxy thinks that it pays: both are measured.
  @SPLICE@
listen bench
  bind 127.0.0.1:@PORT@ backlog 4096
  balance leastconn
@BACKENDS@
"""

# Defaults that are already the fast choice: tcp_nodelay on, epoll, accept_mutex off, no access log in stream.
NGINX = """
load_module modules/ngx_stream_module.so;
# One process on one core, like the others; "reuseport" is for more than one.
worker_processes 1;
worker_rlimit_nofile @FILES@;
daemon off;
pid @DIR@/nginx-stream.pid;
error_log @DIR@/nginx-stream.error.log crit;
# ngx_core_module, "multi_accept": a wake-up takes all new connections instead of one.
events { worker_connections @FILES@; multi_accept on; }
stream {
  upstream bench {
    least_conn;
@BACKENDS@
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    proxy_pass bench;
    # ngx_stream_proxy_module, "proxy_buffer_size": 16k by default; 64k moves four times as much a call. There is no splicing.
    proxy_buffer_size 64k;
    proxy_timeout 1h;
  }
}
"""

MILLRACE = """
[runtime]
# One thread, like the others (two for "two workers"); tools/bench places them.
workers = @WORKERS@
pin_workers = false@POLLING@
[listeners.bench]
bind = "127.0.0.1:@PORT@"
pool = "bench"
forwarding = "@FORWARDING@"
[pools.bench]
backends = [
@BACKENDS@
]
# The others do not probe either.
[pools.bench.health]
type = "none"
"""

# UDP, beside TCP on the same port. The documentation of ngx_stream_core_module names "reuseport" and "rcvbuf" for UDP;
# with "multi_accept" a wake-up takes every datagram that is there instead of one, and costs a third less. A session needs
# two connections, and a descriptor.
NGINX_UDP = """
load_module modules/ngx_stream_module.so;
worker_processes 1;
worker_rlimit_nofile @FILES@;
daemon off;
pid @DIR@/nginx-udp.pid;
error_log @DIR@/nginx-udp.error.log crit;
events { worker_connections 38000; @EVENTS@ }
stream {
  upstream bench {
    least_conn;
@BACKENDS@
  }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    listen 127.0.0.1:@PORT@ udp reuseport@LISTEN@;
    proxy_pass bench;
    proxy_timeout 1h;
  }
}
"""

MILLRACE_UDP = """
[runtime]
workers = 1
pin_workers = false
[listeners.bench]
bind = "127.0.0.1:@PORT@"
pool = "bench"
[listeners.bench-udp]
protocol = "udp"
bind = "127.0.0.1:@PORT@"
pool = "bench"
[pools.bench]
backends = [
@BACKENDS@
]
[pools.bench.health]
type = "none"
"""
