// Command manifests looks at Kubernetes objects in files, without a cluster.
//
//	manifests strict FILE...             every object has only fields that its kind has, and fits to the others
//	manifests builtin FILE               the objects of kinds that every cluster has; the others are named on standard error
//	manifests environment FILE           the variables that the agent's container gets, NAME=value
//	manifests same FILE FILE             both hold the same objects
//	manifests rights PREFLIGHT FILE...   the roles allow what the agent asks for, and nothing else
//	manifests each-right FILE            each right of each role: the role's component, resource and verb
//	manifests settings PAGE SCHEMA       the schema of the chart's values knows each setting of the agent, and no other
//	manifests image DOCKERFILE CONTEXT   the last stage is empty, runs as a number, and all that is copied is there
package main

import (
	"fmt"
	"os"
)

type command struct {
	least int
	run   func(arguments []string) error
}

var commands = map[string]command{
	"strict":      {1, strict},
	"builtin":     {1, builtin},
	"environment": {1, environment},
	"same":        {2, same},
	"rights":      {2, rights},
	"each-right":  {1, eachRight},
	"settings":    {2, settings},
	"image":       {2, image},
}

func main() {
	if len(os.Args) < 2 {
		fail(64, fmt.Errorf("which command?"))
	}
	command, known := commands[os.Args[1]]
	if arguments := os.Args[2:]; !known || len(arguments) < command.least {
		fail(64, fmt.Errorf("%v: no such command, or too few arguments", os.Args[1:]))
	} else if err := command.run(arguments); err != nil {
		fail(1, err)
	}
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(code)
}
