package main

import (
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
)

// The group of custom resources that no cluster has by itself: their fields are not known here.
const monitoring = "monitoring.coreos.com/"

// Kinds that belong to no namespace.
var clusterWide = map[string]bool{
	"Namespace": true, "ClusterRole": true, "ClusterRoleBinding": true,
	"FlowSchema": true, "PriorityLevelConfiguration": true,
}

// strict decodes each object as its kind, without fields that this has not, and looks whether what the objects say of
// each other is true.
func strict(paths []string) error {
	var wrong []error
	for _, path := range paths {
		found, err := documents(path)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			wrong = append(wrong, fmt.Errorf("%s: it holds no object", path))
		}
		for _, problem := range problems(found) {
			wrong = append(wrong, fmt.Errorf("%s: %w", path, problem))
		}
	}
	return errors.Join(wrong...)
}

func problems(found []document) []error {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var wrong []error
	names := map[string]bool{}
	var objects []runtime.Object
	for _, document := range found {
		name := document.name()
		if names[name] {
			wrong = append(wrong, fmt.Errorf("%s is there twice", name))
		}
		names[name] = true
		if is, has := clusterWide[document.object.GetKind()], document.object.GetNamespace() != ""; is == has {
			wrong = append(wrong, fmt.Errorf("%s: a namespace is given or missing", name))
		}
		for _, problem := range validation.IsDNS1123Subdomain(document.object.GetName()) {
			// Roles and their bindings may have any name; ours are plain as well.
			wrong = append(wrong, fmt.Errorf("%s: %s", name, problem))
		}
		for key, value := range document.object.GetLabels() {
			for _, problem := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
				wrong = append(wrong, fmt.Errorf("%s: label %s=%s: %s", name, key, value, problem))
			}
		}
		if strings.HasPrefix(document.object.GetAPIVersion(), monitoring) {
			continue
		}
		object, _, err := decoder.Decode(document.text, nil, nil)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
			continue
		}
		objects = append(objects, object)
	}
	return append(wrong, loose(objects, names)...)
}

// loose finds selectors that select no pod of the Deployment, and references that lead nowhere.
func loose(objects []runtime.Object, names map[string]bool) []error {
	var deployment *appsv1.Deployment
	for _, object := range objects {
		if found, is := object.(*appsv1.Deployment); is {
			deployment = found
		}
	}
	if deployment == nil {
		return []error{errors.New("there is no Deployment")}
	}
	var wrong []error
	pod := labels.Set(deployment.Spec.Template.Labels)
	mustSelect := func(name string, selector *metav1.LabelSelector) {
		if parsed, err := metav1.LabelSelectorAsSelector(selector); err != nil || parsed.Empty() || !parsed.Matches(pod) {
			wrong = append(wrong, fmt.Errorf("%s does not select the agent's pods", name))
		}
	}
	mustExist := func(from, kind, namespace, name string) {
		if !names[fmt.Sprintf("%s %s/%s", kind, namespace, name)] {
			wrong = append(wrong, fmt.Errorf("%s refers to the %s %s/%s, which is not there", from, kind, namespace, name))
		}
	}
	mustSelect("the Deployment", deployment.Spec.Selector)
	ports := map[string]bool{}
	for _, container := range deployment.Spec.Template.Spec.Containers {
		for _, port := range container.Ports {
			ports[port.Name] = true
		}
		volumes := map[string]bool{}
		for _, volume := range deployment.Spec.Template.Spec.Volumes {
			volumes[volume.Name] = true
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] {
				wrong = append(wrong, fmt.Errorf("the Deployment mounts the volume %s, which is not there", mount.Name))
			}
		}
	}
	for _, object := range objects {
		switch object := object.(type) {
		case *corev1.Service:
			mustSelect("the Service", &metav1.LabelSelector{MatchLabels: object.Spec.Selector})
			for _, port := range object.Spec.Ports {
				if !ports[port.TargetPort.StrVal] {
					wrong = append(wrong, fmt.Errorf("the Service leads to the port %s, which the agent has not", port.TargetPort.String()))
				}
			}
		case *policyv1.PodDisruptionBudget:
			mustSelect("the PodDisruptionBudget", object.Spec.Selector)
		case *rbacv1.RoleBinding:
			mustExist("a RoleBinding", object.RoleRef.Kind, object.Namespace, object.RoleRef.Name)
		case *rbacv1.ClusterRoleBinding:
			mustExist("a ClusterRoleBinding", object.RoleRef.Kind, "", object.RoleRef.Name)
		}
	}
	return wrong
}
