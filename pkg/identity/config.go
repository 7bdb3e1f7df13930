package identity

// Config says what rows carry of it. The stages that write into rows share it.
type Config struct {
	TaplineID bool `env:"EVENT_TAPLINE_ID" envDefault:"true" usage:"add @tapline_id to every row, and @tapline_replay_id to one that a replay sends"`
}
