#include "doctor.hpp"

#include <doctest/doctest.h>
#include <linux/capability.h>

#include <algorithm>

namespace millrace::app {

namespace {

/// A machine on which there is nothing to say against anything.
DoctorFacts good_machine() {
  DoctorFacts facts;
  facts.kernel_release = "6.12.1";
  facts.uring = io::UringFeatures{.io_uring = true,
                                  .defer_taskrun = true,
                                  .single_issuer = true,
                                  .multishot_accept = true,
                                  .multishot_recv = true,
                                  .multishot_recvmsg = true,
                                  .buffer_ring = true,
                                  .recv_bundle = true,
                                  .min_wait = true};
  facts.cpus = 2;
  facts.open_files_soft = 20'000;
  facts.open_files_hard = 20'000;
  facts.somaxconn = 4096;
  facts.rmem_max = 4U << 20U;
  facts.tcp_rmem_max = 6U << 20U;
  facts.tcp_wmem_max = 4U << 20U;
  facts.port_low = 32768;
  facts.port_high = 60999;
  facts.congestion_control = "cubic";
  return facts;
}

config::Config configured(const std::string& text) {
  config::Loaded loaded = config::parse(text);
  REQUIRE(loaded.config.has_value());
  return std::move(*loaded.config);
}

config::Config tcp(const std::string& bind = "*:8080", const std::string& more = "") {
  return configured("[listeners.web]\nbind = \"" + bind +
                    "\"\npool = \"db\"\n[pools.db]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n" + more);
}

config::Config udp() {
  return configured(
      "[listeners.dns]\nprotocol = \"udp\"\nbind = \"*:5353\"\npool = \"dns\"\n[pools.dns]\nbackends = "
      "[\"10.0.0.1:53\"]\nhealth = { type = \"none\" }\n");
}

/// The only finding about `topic`; one that says nothing when there is none.
Finding about(const Diagnosis& diagnosis, std::string_view topic) {
  std::vector<Finding> found;
  std::copy_if(diagnosis.findings.begin(), diagnosis.findings.end(), std::back_inserter(found),
               [topic](const Finding& finding) { return finding.topic == topic; });
  REQUIRE(found.size() <= 1);
  return found.empty() ? Finding{} : found.front();
}

bool says(const Finding& finding, std::string_view text) {
  return finding.text.find(text) != std::string::npos;
}

bool fixed_by(const Finding& finding, std::string_view line) {
  return std::find(finding.fixes.begin(), finding.fixes.end(), line) != finding.fixes.end();
}

}  // namespace

TEST_CASE("doctor: a good machine: nothing but good findings, for any configuration") {
  for (const config::Config& config : {config::Config{}, tcp(), udp()}) {
    const Diagnosis diagnosis = diagnose(good_machine(), config);
    CHECK(diagnosis.can_run());
    for (const Finding& finding : diagnosis.findings) {
      CHECK_MESSAGE(finding.severity == Severity::good, finding.topic << ": " << finding.text);
    }
  }
}

TEST_CASE("doctor: capacity in plain numbers") {
  const Diagnosis diagnosis = diagnose(good_machine(), tcp());
  CHECK(says(about(diagnosis, "descriptors"), "about 9,700 connections with 20,000 descriptors"));
  CHECK(about(diagnosis, "local ports").text ==
        "about 56,000 connections to pool db from one source address, about 28,000 to each of 2 backends");
  CHECK(says(about(diagnose(good_machine(), udp()), "descriptors"), "about 18,000 UDP sessions with 20,000 descrip"));
  REQUIRE(diagnosis.pools.size() == 1);
  CHECK(diagnosis.pools[0].connections == 2 * 28'232);
  CHECK(says(about(diagnose(good_machine(), {}), "local ports"), "about 28,000 connections to one backend from one"));
}

TEST_CASE("doctor: nothing is known of the machine") {
  CHECK_FALSE(diagnose({}, {}).can_run());
  DoctorFacts facts;
  facts.uring = good_machine().uring;
  facts.open_files_hard = 4096;
  CHECK(diagnose(facts, tcp()).can_run());
}

TEST_CASE("doctor: without io_uring it cannot run, and the probe knows why") {
  DoctorFacts facts = good_machine();
  facts.uring.reset();
  facts.uring_problem = "the remedy";
  facts.seccomp_mode = 2;
  facts.container = "Docker";
  const Diagnosis diagnosis = diagnose(facts, tcp());
  CHECK_FALSE(diagnosis.can_run());
  CHECK(about(diagnosis, "io_uring").text == "kernel 6.12.1: the remedy");
  CHECK(says(about(diagnosis, "sandbox"), "this is a container (Docker). A seccomp filter is in force, and may be"));
  CHECK(about(diagnosis, "sandbox").fixes.size() == 3);
}

TEST_CASE("doctor: an old kernel's io_uring is a warning, multishot accept a note") {
  DoctorFacts facts = good_machine();
  facts.uring->defer_taskrun = false;
  facts.uring->multishot_accept = false;
  const Diagnosis diagnosis = diagnose(facts, tcp());
  CHECK(diagnosis.can_run());
  CHECK(about(diagnosis, "io_uring").severity == Severity::warning);
  CHECK(about(diagnosis, "accept").severity == Severity::note);
}

TEST_CASE("doctor: a filter that lets io_uring through, and a sysctl that others may not pass") {
  DoctorFacts facts = good_machine();
  facts.seccomp_mode = 2;
  facts.uring_disabled = 1;
  const Diagnosis diagnosis = diagnose(facts, tcp());
  CHECK(about(diagnosis, "sandbox").text == "A seccomp filter is in force; it lets io_uring through");
  CHECK(fixed_by(about(diagnosis, "sysctl"), "sysctl -w kernel.io_uring_disabled=0"));
}

TEST_CASE("doctor: descriptors: too few for what was asked, for much, and to run at all") {
  DoctorFacts facts = good_machine();
  const Finding asked = about(diagnose(facts, tcp("*:8080", "[runtime]\nmax_connections = 50000\n")), "descriptors");
  CHECK(asked.severity == Severity::warning);
  CHECK(says(asked, "but max_connections is 50,000"));
  REQUIRE(asked.fixes.size() == 2);
  CHECK(asked.fixes[0] == "unit: LimitNOFILE=104448");
  CHECK(asked.fixes[1] == "shell: ulimit -n 104448");

  facts.open_files_soft = facts.open_files_hard = 1024;
  const Finding few = about(diagnose(facts, tcp()), "descriptors");
  CHECK(few.severity == Severity::warning);
  CHECK(says(few, "which is few"));

  facts.open_files_soft = facts.open_files_hard = 64;
  const Diagnosis none = diagnose(facts, tcp());
  CHECK(about(none, "descriptors").severity == Severity::problem);
  CHECK_FALSE(none.can_run());
}

TEST_CASE("doctor: what is proposed against too few descriptors is enough") {
  for (const std::uint32_t wanted : {100U, 4096U, 50'000U, 400'000U}) {
    DoctorFacts facts = good_machine();
    facts.open_files_soft = facts.open_files_hard = 128;
    const config::Config config = tcp("*:8080", "[runtime]\nmax_connections = " + std::to_string(wanted) + "\n");
    const Finding finding = about(diagnose(facts, config), "descriptors");
    REQUIRE(finding.fixes.size() == 2);
    const std::string& line = finding.fixes[1];
    facts.open_files_soft = facts.open_files_hard = std::stoull(line.substr(line.rfind(' ') + 1));
    CHECK(about(diagnose(facts, config), "descriptors").severity == Severity::good);
  }
}

TEST_CASE("doctor: the soft limit is raised to the hard one, but nothing is sized by a limit without end") {
  DoctorFacts facts = good_machine();
  facts.open_files_soft = 1024;
  CHECK(diagnose(facts, tcp()).open_files == 20'000);
  facts.open_files_hard = ~std::uint64_t{0};
  CHECK(diagnose(facts, tcp()).open_files == kOpenFilesUsed);
}

TEST_CASE("doctor: locked memory, unless it may lock what it likes") {
  DoctorFacts facts = good_machine();
  facts.memlock_bytes = 64 * 1024;
  const Finding finding = about(diagnose(facts, tcp()), "locked memory");
  CHECK(finding.severity == Severity::warning);
  CHECK(fixed_by(finding, "unit: LimitMEMLOCK=infinity"));
  facts.capabilities = std::uint64_t{1} << CAP_IPC_LOCK;
  CHECK(about(diagnose(facts, tcp()), "locked memory").text.empty());
}

TEST_CASE("doctor: ports below the first unprivileged one") {
  DoctorFacts facts = good_machine();
  const Finding missing = about(diagnose(facts, tcp("*:80")), "capabilities");
  CHECK(missing.severity == Severity::problem);
  CHECK(fixed_by(missing, "unit: AmbientCapabilities=CAP_NET_BIND_SERVICE"));
  CHECK(fixed_by(missing, "sysctl -w net.ipv4.ip_unprivileged_port_start=80"));
  CHECK(about(diagnose(facts, tcp("*:8080")), "capabilities").text.empty());
  CHECK(about(diagnose(facts, tcp("unix:/run/web.sock")), "capabilities").text.empty());
  CHECK(about(diagnose(facts, tcp("127.0.0.1:0")), "capabilities").text.empty());
  facts.capabilities = std::uint64_t{1} << CAP_NET_BIND_SERVICE;
  CHECK(about(diagnose(facts, tcp("*:80")), "capabilities").severity == Severity::good);
  facts.capabilities = 0;
  facts.unprivileged_port = 80;
  CHECK(about(diagnose(facts, tcp("*:80")), "capabilities").text.empty());
}

TEST_CASE("doctor: local ports: too few for what was asked") {
  DoctorFacts facts = good_machine();
  facts.open_files_soft = facts.open_files_hard = kOpenFilesUsed;
  const Finding asked = about(diagnose(facts, tcp("*:8080", "[runtime]\nmax_connections = 300000\n")), "local ports");
  CHECK(asked.severity == Severity::warning);
  CHECK(fixed_by(asked, "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\""));
  CHECK(fixed_by(asked, "3 addresses in `source` of [pools.db], or more backends"));
  // Nobody asked for the half million that the descriptors would allow.
  CHECK(about(diagnose(facts, tcp()), "local ports").severity == Severity::note);
  facts.port_low = 1024;
  facts.port_high = 65535;
  CHECK(about(diagnose(facts, tcp()), "local ports").fixes.size() == 1);
}

TEST_CASE("doctor: more source addresses are more connections, for backends of their family") {
  const config::Config config = configured(
      "[listeners.web]\nbind = \"*:8080\"\npool = \"db\"\n[pools.db]\nsource = [\"10.0.0.8\", \"10.0.0.9\"]\nbackends "
      "= "
      "[\"10.0.0.1:80\", \"unix:/run/db.sock\"]\n");
  const Diagnosis diagnosis = diagnose(good_machine(), config);
  CHECK(about(diagnosis, "local ports").text == "about 56,000 connections to pool db from 2 source addresses");
}

TEST_CASE("doctor: sysctls that fall short, each with the line that helps") {
  DoctorFacts facts = good_machine();
  facts.somaxconn = 128;
  facts.syncookies = 0;
  facts.file_max = 10'000;
  facts.conntrack_max = 4096;
  facts.tcp_wmem_max = 256 * 1024;
  facts.pipe_user_pages = 16384;
  facts.congestion_control = "bbr";
  facts.open_files_soft = facts.open_files_hard = 100'000;
  Diagnosis diagnosis = diagnose(facts, tcp("*:8080", "[runtime]\nmax_connections = 10000\n"));
  CHECK(diagnosis.can_run());
  CHECK(fixed_by(about(diagnosis, "backlog"), "sysctl -w net.core.somaxconn=4096"));
  CHECK(fixed_by(about(diagnosis, "syn flood"), "sysctl -w net.ipv4.tcp_syncookies=1"));
  CHECK(fixed_by(about(diagnosis, "conntrack"), "sysctl -w net.netfilter.nf_conntrack_max=65536"));
  CHECK(about(diagnosis, "conntrack").severity == Severity::warning);
  CHECK(says(about(diagnosis, "TCP buffers"), "at most 256 KiB: over 100 ms of distance one connection gets no more"));
  CHECK(says(about(diagnosis, "TCP buffers"), "about 20 Mbit/s"));
  CHECK(says(about(diagnosis, "pipes"), "128 of up to"));
  CHECK(about(diagnosis, "congestion control").severity == Severity::note);

  facts.rmem_max = 212'992;
  facts.file_max.reset();
  diagnosis = diagnose(facts, udp());
  CHECK(fixed_by(about(diagnosis, "UDP buffers"), "sysctl -w net.core.rmem_max=4194304"));
  CHECK(about(diagnosis, "backlog").text.empty());
  CHECK(about(diagnosis, "TCP buffers").text.empty());
}

TEST_CASE("doctor: more workers than CPUs") {
  const Diagnosis diagnosis = diagnose(good_machine(), tcp("*:8080", "[runtime]\nworkers = 3\n"));
  CHECK(about(diagnosis, "workers").severity == Severity::warning);
}

TEST_CASE("doctor: text and JSON") {
  DoctorFacts facts = good_machine();
  facts.somaxconn = 128;
  facts.kernel_release = "6.12 \"odd\"\n";
  const Diagnosis diagnosis = diagnose(facts, {});
  const std::string text = to_text(diagnosis);
  CHECK(text.find("         fix: sysctl -w net.core.somaxconn=4096\n") != std::string::npos);
  CHECK(text.find("millrace can run here, with up to 9,") != std::string::npos);
  CHECK(text.find("; 1 warning\n") != std::string::npos);
  const std::string json = to_json(diagnosis);
  CHECK(json.find(R"("can_run": true)") != std::string::npos);
  CHECK(json.find(R"(6.12 \"odd\"\u000a)") != std::string::npos);
  facts.uring.reset();
  CHECK(to_text(diagnose(facts, {})).find("millrace cannot run here until") != std::string::npos);
}

}  // namespace millrace::app
