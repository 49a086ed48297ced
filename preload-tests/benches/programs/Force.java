// usage: Force FILE: 3 GiB in two mappings, stores at random, and force of the eight bytes or of all: the medians.

import static java.nio.file.StandardOpenOption.*;

import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;

public class Force {
    static final long HALF = 3L << 29;
    static final long NANOSECONDS = 700_000_000;

    interface Step {
        void run(int number);
    }

    static double median(int most, Step step) {
        long[] took = new long[most];
        long begun = System.nanoTime();
        int count = 0;
        while (count < most && System.nanoTime() - begun < NANOSECONDS) {
            long start = System.nanoTime();
            step.run(count);
            took[count++] = System.nanoTime() - start;
        }
        Arrays.sort(took, 0, count);
        return took[count / 2] / 1e3;
    }

    public static void main(String[] args) throws Exception {
        Random chance = new Random(15);
        try (FileChannel file = FileChannel.open(Path.of(args[0]), CREATE, READ, WRITE)) {
            MappedByteBuffer[] halves = {
                file.map(FileChannel.MapMode.READ_WRITE, 0, HALF),
                file.map(FileChannel.MapMode.READ_WRITE, HALF, HALF),
            };
            double range = median(200, number -> {
                int at = chance.nextInt((int) (HALF - 8));
                halves[number % 2].putLong(at, number);
                halves[number % 2].force(at, 8);
            });
            double all = median(20, number -> {
                for (int i = 0; i < 50; i++)
                    halves[i % 2].putLong(chance.nextInt((int) (HALF - 8)), i);
                halves[0].force();
                halves[1].force();
            });
            System.out.println(range + " " + all);
        }
    }
}
