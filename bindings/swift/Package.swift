// swift-tools-version: 6.0
// The package `Sidelock`. Run `./prepare` once before it is built: it makes the library and what is generated from it.
import PackageDescription

let library = "\(Context.packageDirectory)/lib"

/// Programs of this package only: its tests, what they start, samples, and a benchmark.
func program(_ name: String, in folder: String) -> Target {
    .executableTarget(name: name, dependencies: ["Sidelock"], path: folder)
}

let package = Package(
    name: "Sidelock",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [.library(name: "Sidelock", targets: ["Sidelock"])],
    targets: [
        .target(name: "Sidelock", dependencies: ["SidelockNative"]),
        // Generated, and nobody's business but that of the target above.
        .target(
            name: "SidelockNative",
            dependencies: ["SidelockNativeFFI"],
            linkerSettings: [
                .linkedLibrary("sidelock_ffi"),
                // Where it is when a program is linked, and when it runs on this machine.
                .unsafeFlags(["-L\(library)", "-Xlinker", "-rpath", "-Xlinker", library]),
            ]
        ),
        .systemLibrary(name: "SidelockNativeFFI"),
        program("player", in: "Tests/Player"),
        program("bench", in: "Tests/Bench"),
        program("turns", in: "Tests/Turns"),
        program("sample-web", in: "Samples/Web"),
        program("sample-worker", in: "Samples/Worker"),
        program("sample-migration", in: "Samples/Migration"),
        .testTarget(
            name: "SidelockTests",
            dependencies: ["Sidelock", "player", "turns", "sample-web", "sample-worker", "sample-migration"]
        ),
    ]
)
