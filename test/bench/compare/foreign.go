package compare

import (
	"context"
	"fmt"
	"strings"
)

// Settings of rsyslog's queue. The one in memory is what it has by default; the one on disk is
// synced at each write, and so is the record of how far it was read.
const (
	rsyslogMemory = ``
	rsyslogDisk   = `queue.type="Disk" queue.filename="rows" queue.syncqueuefiles="on" queue.checkpointinterval="1"`
)

// rsyslog reads the file, through its queue.
func rsyslog(queue string) func(context.Context, scene) (*attempt, error) {
	return func(ctx context.Context, s scene) (*attempt, error) {
		conf, err := s.write(fmt.Sprintf(`
global(
	workDirectory="%s" maxMessageSize="2m"
	defaultNetstreamDriver="ossl"
	defaultNetstreamDriverCAFile="%s" defaultNetstreamDriverCertFile="%s" defaultNetstreamDriverKeyFile="%s"
)
module(load="imfile")
template(name="asItIs" type="string" string="%%msg%%\n")
ruleset(name="ship" %s) {
	action(
		type="omfwd" protocol="tcp" target="127.0.0.1" port="%s" template="asItIs" tcp_framing="traditional"
		streamDriver="ossl" streamDriverMode="1" streamDriverAuthMode="x509/name" streamDriverPermittedPeers="localhost"
		action.resumeRetryCount="-1" action.resumeInterval="1"
	)
}
input(type="imfile" file="%s" tag="tapline" ruleset="ship" addMetadata="off")
`, s.dir, s.certs.Chain, s.certs.ClientCert, s.certs.ClientKey, queue, s.port(), s.rows.path))
		if err != nil {
			return nil, err
		}
		return daemon(ctx, s, []string{
			s.installed.Program("rsyslogd"), "-n", "-f", conf, "-i", s.path("pid"), "-M", s.installed.Find("imfile.so"),
		})
	}
}

// syslogNGDisk is the buffer that writes each row down before it is sent, and keeps it until it
// was; it never syncs, and has no setting for that.
const syslogNGDisk = `disk-buffer(reliable(yes) disk-buf-size(4294967296) dir("DIR"))`

// syslogNG reads the file, through its buffer. It may fetch and hold more rows at a time than by
// default.
func syslogNG(buffer string) func(context.Context, scene) (*attempt, error) {
	return func(ctx context.Context, s scene) (*attempt, error) {
		buffer := strings.ReplaceAll(buffer, "DIR", s.dir)
		conf, err := s.write(fmt.Sprintf(`@version: 3.38
options { log-msg-size(2097152); use-dns(no); dns-cache(no); time-reopen(1); stats-freq(0); };
source s_file { file("%s" flags(no-parse) log-fetch-limit(1000) log-iw-size(10000)); };
destination d_devo {
	network(
		"127.0.0.1" port(%s) transport("tls") template("${MSG}\n") log-fifo-size(20000) %s
		tls(ca-file("%s") cert-file("%s") key-file("%s") peer-verify(required-trusted))
	);
};
log { source(s_file); destination(d_devo); flags(flow-control); };
`, s.rows.path, s.port(), buffer, s.certs.Chain, s.certs.ClientCert, s.certs.ClientKey))
		if err != nil {
			return nil, err
		}
		return daemon(ctx, s, []string{
			s.installed.Program("syslog-ng"), "-F", "--stderr", "-f", conf, "--module-path", s.installed.Find("libafsocket.so"),
			"-R", s.path("persist"), "-p", s.path("pid"), "-c", s.path("control"),
		})
	}
}
