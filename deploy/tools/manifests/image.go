package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

var numbers = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`)

// image reads a Dockerfile as the builder does.
func image(arguments []string) error {
	file, err := os.Open(arguments[0])
	if err != nil {
		return err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return err
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return err
	}
	var wrong []error
	names := map[string]bool{}
	user, hasEntrypoint := "", false
	for i, stage := range stages {
		isLast := i == len(stages)-1
		if isLast && stage.BaseName != "scratch" {
			wrong = append(wrong, fmt.Errorf("the last stage begins with %s, not with nothing", stage.BaseName))
		}
		for _, command := range stage.Commands {
			switch command := command.(type) {
			case *instructions.CopyCommand:
				if command.From != "" && !names[command.From] {
					wrong = append(wrong, fmt.Errorf("there is no stage %s before it is copied from", command.From))
				}
				for _, path := range command.SourcePaths {
					if command.From != "" {
						continue
					}
					if _, err := os.Stat(filepath.Join(arguments[1], path)); err != nil {
						wrong = append(wrong, fmt.Errorf("what is copied is not there: %w", err))
					}
				}
			case *instructions.AddCommand:
				wrong = append(wrong, errors.New("ADD takes whatever an address holds at that time"))
			case *instructions.UserCommand:
				if isLast {
					user = command.User
				}
			case *instructions.EntrypointCommand:
				hasEntrypoint = isLast && !command.PrependShell
			}
		}
		names[stage.Name] = true
	}
	// By name nobody can tell that it is not root: there is no file of users in an empty image.
	if !numbers.MatchString(user) {
		wrong = append(wrong, fmt.Errorf("the user '%s' is root, or no pair of numbers", user))
	}
	if !hasEntrypoint {
		wrong = append(wrong, errors.New("the entrypoint is missing, or needs a shell"))
	}
	return errors.Join(wrong...)
}
