{{/* The sidecar: first of a pod's initContainers. Give it the root context. */}}
{{- define "sidelock.container" -}}
{{- $values := .Values.sidelock -}}
- name: sidelock
  image: {{ $values.image }}
  restartPolicy: Always
  args: [serve, --probe-listen, "0.0.0.0:9464"]
  env:
    - {name: SIDELOCK_LOG_FORMAT, value: json}
    {{- range $name, $value := $values.settings }}
    - {name: {{ $name }}, value: {{ $value | quote }}}
    {{- end }}
  ports:
    - {name: sidelock, containerPort: 9464}
  startupProbe:
    httpGet: {path: /startupz, port: sidelock}
    periodSeconds: 1
    failureThreshold: 30
  readinessProbe:
    httpGet: {path: /readyz, port: sidelock}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: sidelock}
    periodSeconds: 10
  resources: {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    - {name: sidelock, mountPath: /run/sidelock}
    - {name: sidelock-redis, mountPath: /etc/sidelock/redis, readOnly: true}
    {{- with $values.mounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Labels of the pod, by which the monitor finds it. */}}
{{- define "sidelock.labels" -}}
sidelock: enabled
{{- end }}

{{/* The pod's supplementalGroups: who is in it reaches the socket. */}}
{{- define "sidelock.groups" -}}
- 65532
{{- end }}

{{/* The pod's volumes. */}}
{{- define "sidelock.volumes" -}}
- name: sidelock
  emptyDir: {}
- name: sidelock-redis
  secret: {secretName: {{ .Values.sidelock.redisSecret }}, optional: true}
{{- with .Values.sidelock.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* In a container of the app: env, and volumeMounts. */}}
{{- define "sidelock.env" -}}
- {name: SIDELOCK_SOCKET, value: /run/sidelock/s/sidelock.sock}
{{- end }}
{{- define "sidelock.mounts" -}}
- {name: sidelock, mountPath: /run/sidelock}
{{- end }}

{{/* A resource of its own, if it is wanted. */}}
{{- define "sidelock.podMonitor" -}}
{{- if .Values.sidelock.podMonitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ .Release.Name }}-sidelock
spec:
  selector:
    matchLabels:
      sidelock: enabled
      app.kubernetes.io/instance: {{ .Release.Name }}
  podMetricsEndpoints:
    - port: sidelock
      path: /metrics
      interval: {{ .Values.sidelock.podMonitor.interval }}
{{- end }}
{{- end }}
