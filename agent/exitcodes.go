package agent

// Exit codes are an API: Jobs and podFailurePolicy act on them. They are only ever added to. An error carries its code with a
// method `ExitCode() int`; docs/exit-codes.md says what each means. The numbers follow sysexits(3) where one fits.
const (
	ExitOK            = 0
	ExitUnexpected    = 1   // a failure nobody thought of
	ExitUsage         = 2   // the command line or an option's value
	ExitDataCorrupt   = 65  // bad pages, a damaged volume
	ExitUnavailable   = 69  // a peer or a store does not answer; worth a retry
	ExitCannotCreate  = 73  // no space, a directory that cannot be made
	ExitIO            = 74  // the disk or the kernel reported an error
	ExitTemporary     = 75  // worth a retry
	ExitPermission    = 77  // file modes, uid, MySQL privileges, a store's credentials
	ExitConfig        = 78  // secret, pod name, unsupported server
	ExitRefused       = 80  // a guard says no; a human has to decide
	ExitVerification  = 81  // something was checked and is not what it claims to be
	ExitNotRestorable = 82  // a backup or archive from which what was asked for cannot be restored
	ExitWrongKey      = 84  // no key that was given opens a backup, or it was sealed under another secret
	ExitTerminated    = 143 // ended by a signal before it was done
)
