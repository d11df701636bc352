// The player for Swift: an actor is a task.
//
// `bindings/cases/README.md` describes what it is told and what it answers.

import Sidelock

/// Who plays, and the clients that they share.
actor Stage {
    private var clients: [String: Sidelock] = [:]
    private var roles: [String: Role] = [:]

    func tell(_ order: Order) async {
        if roles[order.actor] == nil { await enter(order.actor, Role(self)) }
        let role = roles[order.actor]!
        if order.verb == "cancel" { await role.cancel() } else { await role.take(order) }
    }

    func enter(_ actor: String, _ role: Role) async {
        roles[actor] = role
        await role.begin()
    }

    func leave(_ actor: String) {
        roles[actor] = nil
        clients.removeAll()
    }

    func client(_ order: Order) async throws -> Sidelock {
        let name = order.text("client")
        if let client = clients[name] { return client }
        let client = try Sidelock(
            socket: order.text("socket"), app: name, defaultWait: order.span("default_wait"),
            requireScope: order.maybe("require_scope").map { Scope(rawValue: $0)! })
        _ = try await client.sidecar()
        clients[name] = client
        return client
    }
}

let stage = Stage()
while let line = readLine() { await stage.tell(Order(line)) }
