package main

// aim is a figure that Tapline is to reach, and what bounds it from above in the same run.
type aim struct {
	what, goal       string
	pkg, bench, unit string
	ceiling, beside  string // a benchmark of the same package and unit
}

// aims are the goals of the design.
var aims = []aim{
	{"drain EVENTS to a TLS sink, all confirmed", "150000", "shipper", "Drain/acked", "events/s", "Drain/ceiling", "JetStream consumer without a sink"},
	{"whole pipeline, simulator to confirmed", "60000", "e2e", "Pipeline", "events/s", "BareJetStream", "both streams, nobody looks inside"},
	{"split a response into records with hashes", "400", "proofpoint", "SplitAndHash", "MB/s", "BareSplit", "jsontext reads it"},
	{"flatten a report of 2 KB", "200", "flatten", "Report/bytes=2048", "MB/s", "BareReport/bytes=2048", "jsontext reads it"},
	{"flatten a report of 60 KB", "200", "flatten", "Report/bytes=61440", "MB/s", "BareReport/bytes=61440", "jsontext reads it"},
	{"idle memory, all in one", "40", "e2e", "Program", "idle-MiB", "", ""},
	{"memory under full load, all in one", "200", "e2e", "Program", "peak-MiB", "", ""},
	{"start of the all in one to ready", "1000", "e2e", "Program", "ready-ms", "", ""},
}
