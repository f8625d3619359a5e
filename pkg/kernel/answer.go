package kernel

// Answer is the answer to a question about the kernel. Its zero value is that
// it could not be told, which must not be taken for a no.
type Answer uint8

const (
	Unknown Answer = iota
	Yes
	No
)

func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "could not tell"
}

// Problem is why something does not work here and what to do about it, each
// a sentence without a full stop. It is an error.
type Problem struct {
	What string
	Do   string
}

func (p *Problem) Error() string {
	if p.Do == "" {
		return p.What
	}
	return p.What + ": " + p.Do
}

// Feature is something that the kernel, or this process, has or lacks.
type Feature struct {
	Answer Answer
	// Problem is set when the answer is not yes.
	Problem *Problem
}

// Err is the problem when the answer is no. It is nil when it could not be
// told: then trying is the only way to know.
func (f Feature) Err() error {
	if f.Answer == No && f.Problem != nil {
		return f.Problem
	}
	return nil
}

func has() Feature { return Feature{Answer: Yes} }

func lacks(what, do string) Feature { return Feature{No, &Problem{what, do}} }

func untold(what, do string) Feature { return Feature{Unknown, &Problem{what, do}} }
